"""The options of stage two: frozen values that check themselves. Imports no torch, so help is fast."""
