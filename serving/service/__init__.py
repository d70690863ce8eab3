"""The service: requests into pictures, pictures into answers, within limits."""
