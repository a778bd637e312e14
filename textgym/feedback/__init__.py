"""What people say of texts: a store that loses nothing, the page that asks them, and files in and out."""
