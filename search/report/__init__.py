"""What runs of stage two found: one run's front, several runs overlaid, the page."""
