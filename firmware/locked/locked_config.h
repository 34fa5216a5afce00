// In place of mpconfigport.h, which defines some of these without asking whether a board has.
#include "mpconfigport.h"

// No compiler: no prompt, no exec, no program in sources. No loader of .mpy files. So the only code
// there is to run is frozen.
#define MICROPY_ENABLE_COMPILER (0)
#undef MICROPY_PERSISTENT_CODE_LOAD
#define MICROPY_PERSISTENT_CODE_LOAD (0)
#undef MICROPY_EMIT_THUMB
#define MICROPY_EMIT_THUMB (0)
#undef MICROPY_EMIT_INLINE_THUMB
#define MICROPY_EMIT_INLINE_THUMB (0)

// Ctrl-C is a byte like any other, from the first instruction of boot.py and main.py on
// (shared/runtime/pyexec.c turns it on for each file that it runs).
#define MICROPY_BOARD_BEFORE_PYTHON_EXEC(input_kind, exec_flags) \
    ((exec_flags) |= EXEC_FLAG_NO_INTERRUPT)

// Nor does the serial port's host start the loader.
#define MICROPY_HW_USB_CDC_1200BPS_TOUCH (0)
#define MICROPY_HW_USB_CDC_DTR_RTS_BOOTLOADER (0)
