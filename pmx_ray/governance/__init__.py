"""Whether a forecaster may replace the one in service: certify, select, registry, audit."""
