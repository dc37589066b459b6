"""Methods that take steps of their own, one file each."""
