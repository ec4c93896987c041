"""What a user would pick instead, as such a user writes it: scripts that know nothing of alexnet_skip."""
