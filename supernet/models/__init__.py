"""Model families, slicing, and pre-trained models. It imports `options`, `space` and `runtime`, and knows no rows."""
