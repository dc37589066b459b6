"""The studies there are."""

from dichroic.studies.reproduce.autoencoders import Autoencoders
from dichroic.studies.reproduce.one_step import OneStep
from dichroic.studies.reproduce.one_step_pictures import OneStepPictures
from dichroic.studies.reproduce.study import Study

__all__ = ["STUDIES"]

# every comparison in which nothing is mixed, by its name
STUDIES: dict[str, Study] = {study.name: study for study in (Autoencoders(), OneStep(), OneStepPictures())}
