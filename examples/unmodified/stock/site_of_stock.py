"""A stock: settings, URLs and views of a Django site that has never heard of a mesh."""

from __future__ import annotations

import os

import grpc
from django.http import HttpRequest, JsonResponse
from django.urls import path

SECRET_KEY = os.environ.get("SECRET_KEY", "none that matters: nothing is signed here")
DEBUG = False
TIME_ZONE = "UTC"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
WSGI_APPLICATION = "site_of_stock.application"
MIDDLEWARE: list[str] = ["django.middleware.common.CommonMiddleware"]

ITEMS = {"lamp": 3, "rope": 12, "tent": 0}
PRICES = os.environ.get("PRICES_ADDRESS", "127.0.0.1:50051")


def price_of(name: str) -> str:
    """Asked of another service by gRPC."""
    with grpc.insecure_channel(PRICES) as channel:
        ask = channel.unary_unary("/shop.Prices/Of", str.encode, bytes.decode)
        answer: str = ask(name, timeout=5)
        return answer


def items(request: HttpRequest) -> JsonResponse:
    """All items and how many there are."""
    del request
    return JsonResponse({"items": ITEMS})


def item(request: HttpRequest, name: str) -> JsonResponse:
    """One item, with its price."""
    del request
    if name not in ITEMS:
        return JsonResponse({"error": f"no {name} here"}, status=404)
    return JsonResponse({"name": name, "count": ITEMS[name], "price": price_of(name)})


urlpatterns = [path("items/", items), path("items/<name>", item)]


def __getattr__(name: str) -> object:
    """The WSGI application, made when somebody asks for it: settings must be read first."""
    if name == "application":
        from django.core.wsgi import get_wsgi_application

        return get_wsgi_application()
    raise AttributeError(name)
