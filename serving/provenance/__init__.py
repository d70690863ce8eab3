"""What a file says of its own origin, which no score looks at: anybody can write or remove it."""
