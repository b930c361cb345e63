"""What the faces for other programs stand on: trio on a thread of its own."""
