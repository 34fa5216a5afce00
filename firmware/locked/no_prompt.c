// What the port's main() calls once main.py has ended. There is no compiler and so no prompt: the
// chip starts again. A reset releases the relay's pin.
#include "hardware/watchdog.h"
#include "shared/runtime/pyexec.h"

int pyexec_friendly_repl(void) {
    watchdog_reboot(0, 0, 0);
    for (;;) {
    }
    return 0;
}

int pyexec_raw_repl(void) {
    return pyexec_friendly_repl();
}
