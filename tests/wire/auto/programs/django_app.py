"""
A Django application in one file that knows no mesh.

    python django_app.py runserver 127.0.0.1:5003
    gunicorn django_app:application --bind 127.0.0.1:5003
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

if TYPE_CHECKING:
    from django.http import HttpRequest

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        ROOT_URLCONF=__name__,
        SECRET_KEY="only an example",
    )


def whoami(request: HttpRequest) -> JsonResponse:
    """Who asks, as far as the server can tell; alone it can tell nothing."""
    peer = request.META.get("mesh.peer")
    return JsonResponse(
        {"peer": None if peer is None else peer.service, "host": request.get_host()}
    )


def echo(request: HttpRequest) -> HttpResponse:
    """What was sent."""
    return HttpResponse(request.read())


urlpatterns = [path("whoami", whoami), path("echo", echo)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
