"""From files to token batches, and metrics. It imports `options`, `space` and `runtime`, and knows no model."""
