"""What NGINX does for an app, over all versions of HTTP that it speaks."""
