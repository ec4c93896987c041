"""Many runs alike, and what may be claimed of their differences."""
