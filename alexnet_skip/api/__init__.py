"""What a notebook reaches for; the package's own face hands it on (``from alexnet_skip import train``)."""
