"""Dropout rates that change with the step, for the schedules of the frameworks' layers."""

from mapdrop.rates.of_step import early as early
from mapdrop.rates.of_step import late as late
from mapdrop.rates.of_step import linear as linear
