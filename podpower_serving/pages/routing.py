"""All pages, for the application."""

from typing import Final

from podpower_serving.pages.files import static_file
from podpower_serving.pages.fleet import FleetPage
from podpower_serving.pages.predicting import PredictingPage

PAGES: Final = (PredictingPage, FleetPage, static_file)
