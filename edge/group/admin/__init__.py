"""What an operator does to a group while it runs."""
