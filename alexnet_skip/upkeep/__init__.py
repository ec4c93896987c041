"""What a command would take, what lies in the cache, and what may go."""
