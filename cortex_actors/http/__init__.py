"""The HTTP front end of both daemons: Falcon on gunicorn, talking to actors over links."""
