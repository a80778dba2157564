"""One file a subject: functions that yield rows."""
