"""What val shows."""
