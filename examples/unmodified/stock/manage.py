"""Django's own way to start: python manage.py runserver 127.0.0.1:8001."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_stock")
    execute_from_command_line(sys.argv)
