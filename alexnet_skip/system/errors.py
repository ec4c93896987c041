"""The one exception type that the scripts turn into a message and exit code 2."""


class UserError(ValueError):
    """What a user can mend: names the setting or path, the value found, what is allowed and what to do."""
