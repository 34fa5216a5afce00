"""What the locked image for the Pico has frozen into it, and nothing else can run there.

In MicroPython's manifest language (its docs/reference/manifest.rst). A test holds it against the
tree: tests/cpython/test_file_lists.py.
"""

# The port's own: `rp2`, and `_boot`, which mounts the file system.
freeze("$(PORT_DIR)/modules", ("_boot.py", "rp2.py"))
module("boot.py", base_path="locked")
module("main.py", base_path=".")
package(
    "muteboard",
    (
        "__init__.py",
        "app.py",
        "attest.py",
        "boards/__init__.py",
        "boards/interlock.py",
        "boards/keystore.py",
        "boards/micropython_board.py",
        "boards/rp2040.py",
        "boards/rp2040_interlock.py",
        "boards/rp2040_sampler.py",
        "button.py",
        "config.py",
        "controller.py",
        "crash.py",
        "evidence.py",
        "journal.py",
        "lamp.py",
        "link.py",
        "wire.py",
    ),
    base_path=".",
)
