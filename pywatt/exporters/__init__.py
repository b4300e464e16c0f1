"""Exporters that publish readings (Prometheus, OpenTelemetry), imported only when asked for."""
