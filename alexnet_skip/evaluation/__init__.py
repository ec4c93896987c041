"""A trained model judged, used on one's own images, or exported."""
