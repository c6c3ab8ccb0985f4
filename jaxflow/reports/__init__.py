"""What people look at: pictures, curves, pages and tables."""
