"""Sign-in at the console: by the token, or by OpenID Connect; sessions of browsers."""
