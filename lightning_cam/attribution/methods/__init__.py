"""CAM methods: functions of ``Evidence``, and their table ``METHODS``."""
