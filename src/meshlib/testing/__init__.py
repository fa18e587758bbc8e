"""What tests of and with the mesh need: time that stands still, scripts, throw-away CAs."""
