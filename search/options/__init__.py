"""What a user can tell stage two: frozen values that check themselves. It imports no torch, so that help comes fast."""
