"""Monte-Carlo dropout: a client of the captured graph."""

from mapdrop.torch.predict.predict import predict as predict
from mapdrop.torch.predict.prediction import Prediction as Prediction
