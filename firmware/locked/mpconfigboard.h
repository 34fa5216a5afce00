// The flash layout is the stock image's, so that the file system survives a change from one to the
// other.
#include "boards/RPI_PICO/mpconfigboard.h"

#undef MICROPY_HW_BOARD_NAME
#define MICROPY_HW_BOARD_NAME "hardmute (locked) on Raspberry Pi Pico"
