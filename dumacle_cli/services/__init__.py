"""What is decided: rules over the store; no SQL, no screen, no vendor. Nothing here commits."""
