"""Forecasts of series: `crnn.Forecaster`."""
