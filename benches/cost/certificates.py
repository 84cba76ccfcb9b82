"""A certificate for the measured broker."""

import subprocess


def certificate(directory):
    """For 127.0.0.1, signed by itself; and the lines of mosquitto's config that name it."""
    # mosquitto has given up the rights of root when it reads the files.
    directory.chmod(0o755)
    file, key = directory / "broker.crt", directory / "broker.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=cost", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:false"]
    subprocess.run([*command, "-keyout", key, "-out", file], check=True, capture_output=True)
    key.chmod(0o644)
    return file, f"certfile {file}\nkeyfile {key}\n"
