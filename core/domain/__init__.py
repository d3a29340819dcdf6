"""The rules of codes, images, scans, periods and accounts, free of I/O."""
