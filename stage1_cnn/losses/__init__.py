"""What is minimised: a class per loss, and the registry that `loss.kind` chooses from."""
