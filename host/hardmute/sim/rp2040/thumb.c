// What the Cortex-M0+ of an RP2040 does most of the time: arithmetic, branches, memory without side
// effects, divisions, locks, looking at the SysTick. `thumb_run` does that as rp2040py 0.3.6 does it, cycle for cycle and
// quirk for quirk. It stops before each instruction that does anything else; thumb.py gives that one
// to rp2040py.

#include <math.h>
#include <stdint.h>
#include <string.h>

#define FLASH 0x10000000u
#define RAM 0x20000000u
#define DPRAM 0x50100000u
#define BOOT_ROM_SIZE 0x4000u
#define FLASH_SIZE 0x1000000u
#define RAM_SIZE 0x42000u
#define DPRAM_SIZE 0x1000u
#define SIO 0xd0000000u
#define PRIMASK 16
// SYST_CVR, the counter of the SysTick, which counts down 24 bits at the system clock.
#define SYSTICK 0xe000e018u
#define SYSTICK_STEPS 0x1000000
#define FREQUENCY 125e6
#define CYCLE_NS 8.0
// What a division adds to the count of cycles, in no time.
#define DIVISION_CYCLES 8
#define PARKED 8
// How far a state machine may be behind, in 1/256 of a cycle.
#define MAX_ARREARS (8 << 8)

// As `_Parked` in thumb.py: a state machine of a PIO that jumps to where it is, for ever. Times are
// in 1/256 of a cycle, and `due` from the start of the run.
struct parked { int64_t due, divider, steps, drops; };

// As `_Machine` in thumb.py. All little-endian, as this computer has to be.
struct machine {
    uint32_t *r;
    const uint8_t *boot_rom;
    const uint8_t *flash;
    uint8_t *ram;
    const uint8_t *dpram;
    // Cycles that are counted and take no time.
    uint32_t extra;
    // As in the APSR.
    uint32_t flags;
    uint32_t primask;
    // Out: an exception that is pending may be due now.
    uint32_t unmasked;
    // SIO: the divider, and a bit for each spinlock that is taken.
    uint32_t dividend, divisor, quotient, remainder, csr, locks;
    // Out: the cycles of the last instruction, after which the parked have not been paced; 0 if
    // they have been.
    uint32_t last;
    uint32_t parked_count;
    struct parked parked[PARKED];
    // When the run starts; the SysTick's count, and when it had that.
    double now_ns, base_ns, base_count;
    uint32_t counting;
};

// Where `size` bytes lie that can be read; NULL if reading them is more than that.
static inline const uint8_t *readable(const struct machine *m, uint32_t at, uint32_t size)
{
    if (at & (size >= 4 ? 3 : size - 1))
        return 0;
    if (at - RAM <= RAM_SIZE - size)
        return m->ram + (at - RAM);
    if (at - FLASH <= FLASH_SIZE - size)
        return m->flash + (at - FLASH);
    if (at <= BOOT_ROM_SIZE - size)
        return m->boot_rom + at;
    if (at - DPRAM <= DPRAM_SIZE - size)
        return m->dpram + (at - DPRAM);
    return 0;
}

static inline uint8_t *writable(const struct machine *m, uint32_t at, uint32_t size)
{
    if ((at & (size >= 4 ? 3 : size - 1)) || at - RAM > RAM_SIZE - size)
        return 0;
    return m->ram + (at - RAM);
}

static inline uint32_t get32(const uint8_t *p) { uint32_t x; memcpy(&x, p, 4); return x; }
static inline uint32_t get16(const uint8_t *p) { uint16_t x; memcpy(&x, p, 2); return x; }
static inline void put32(uint8_t *p, uint32_t x) { memcpy(p, &x, 4); }
static inline void put16(uint8_t *p, uint32_t x) { uint16_t y = (uint16_t)x; memcpy(p, &y, 2); }

struct flags { uint32_t n, z, c, v; };

static inline uint32_t logic(struct flags *f, uint32_t x)
{
    f->n = x >> 31;
    f->z = x == 0;
    return x;
}

static inline uint32_t add(struct flags *f, int64_t a, int64_t b)
{
    int64_t sum = a + b;
    f->c = sum != (int64_t)(uint32_t)sum;
    f->v = (int32_t)sum != (int64_t)(int32_t)a + (int32_t)b;
    return logic(f, (uint32_t)sum);
}

static inline uint32_t subtract(struct flags *f, int64_t a, int64_t b)
{
    uint32_t x = (uint32_t)(a - b);
    f->c = a >= b;
    f->v = (((uint32_t)a ^ (uint32_t)b) & ((uint32_t)a ^ x)) >> 31;
    return logic(f, x);
}

static inline int holds(const struct flags *f, unsigned condition)
{
    unsigned is;
    switch (condition >> 1) {
    case 0: is = f->z; break;
    case 1: is = f->c; break;
    case 2: is = f->n; break;
    case 3: is = f->v; break;
    case 4: is = f->c && !f->z; break;
    case 5: is = f->n == f->v; break;
    default: is = f->n == f->v && !f->z; break;
    }
    return is != (condition & 1);
}

// After each instruction at the most one step of each state machine, as in `RPPIO.advance`.
static inline void pace(struct machine *m, int64_t now)
{
    for (uint32_t i = 0; i < m->parked_count; i++) {
        struct parked *p = &m->parked[i];
        if (p->due > now)
            continue;
        if (now - p->due > MAX_ARREARS) {
            p->drops++;
            p->due = now;
        }
        p->steps++;
        p->due += p->divider;
    }
}

// As `Timer32.counter`, in the same order, for the rounding to be the same.
static uint32_t systick(const struct machine *m, int64_t cycles)
{
    if (!m->counting)
        return (uint32_t)(int64_t)m->base_count;
    const double now_ns = m->now_ns + (double)cycles * CYCLE_NS;
    const double ticks = (now_ns - m->base_ns) / 1e9 * FREQUENCY;
    const double count = m->base_count + (SYSTICK_STEPS - fmod(ticks, SYSTICK_STEPS));
    return (uint32_t)((int64_t)floor(count + 0.5) % SYSTICK_STEPS);
}

static void divide(struct machine *m, int is_signed)
{
    if (m->divisor == 0) {
        m->quotient = m->dividend ? 0xffffffffu : 1;
        m->remainder = m->dividend;
    } else if (is_signed) {
        const int64_t a = (int32_t)m->dividend, b = (int32_t)m->divisor;
        m->quotient = (uint32_t)(a / b);
        m->remainder = (uint32_t)(a % b);
    } else {
        m->quotient = m->dividend / m->divisor;
        m->remainder = m->dividend % m->divisor;
    }
    m->csr = 3;
    m->extra += DIVISION_CYCLES;
}

// Whether the word at `at` is of these parts of SIO (RP2040 datasheet, "SIO", list of registers),
// and has been read to `value`.
static int sio_read(struct machine *m, uint32_t at, uint32_t *value)
{
    switch (at - SIO) {
    case 0x00: *value = 0; return 1; // CPUID
    case 0x60: case 0x68: *value = m->dividend; return 1;
    case 0x64: case 0x6c: *value = m->divisor; return 1;
    case 0x70: *value = m->quotient; m->csr &= ~2u; return 1;
    case 0x74: *value = m->remainder; return 1;
    case 0x78: *value = m->csr; return 1;
    default:
        if (at - SIO - 0x100 < 0x80 && !(at & 3)) {
            const uint32_t lock = 1u << (at >> 2 & 31);
            *value = m->locks & lock ? 0 : lock;
            m->locks |= lock;
            return 1;
        }
        return 0;
    }
}

static int sio_write(struct machine *m, uint32_t at, uint32_t value)
{
    switch (at - SIO) {
    case 0x60: case 0x68: m->dividend = value; divide(m, at == SIO + 0x68); return 1;
    case 0x64: case 0x6c: m->divisor = value; divide(m, at == SIO + 0x6c); return 1;
    default:
        if (at - SIO - 0x100 < 0x80 && !(at & 3)) {
            m->locks &= ~(1u << (at >> 2 & 31));
            return 1;
        }
        return 0;
    }
}

// Stop before this instruction.
#define LEAVE goto leave
#define READ(size, at) const uint8_t *p = readable(m, at, size); if (!p) LEAVE
#define WRITE(size, at) uint8_t *p = writable(m, at, size); if (!p) LEAVE
// Words, also of SIO and the SysTick.
#define LOAD(d, at) \
    do { \
        const uint8_t *p = readable(m, at, 4); \
        if (p) { \
            r[d] = get32(p); \
            takes = 2; \
        } else if (at == SYSTICK) { \
            r[d] = systick(m, cycles); \
            takes = 2; \
        } else if (!sio_read(m, at, &r[d])) { \
            LEAVE; \
        } \
    } while (0)
#define STORE(s, at) \
    do { \
        uint8_t *p = writable(m, at, 4); \
        if (p) { \
            put32(p, r[s]); \
            takes = 2; \
        } else if (!sio_write(m, at, r[s])) { \
            LEAVE; \
        } \
    } while (0)

// Run until `budget` cycles are over, or an instruction is none of these; with `pending`, an
// exception that is enabled and waits, also until interrupts are unmasked. The cycles that it took.
int64_t thumb_run(struct machine *m, int64_t budget, int pending)
{
    uint32_t *r = m->r;
    struct flags f = {m->flags >> 31, m->flags >> 30 & 1, m->flags >> 29 & 1, m->flags >> 28 & 1};
    int64_t cycles = 0;
    uint32_t pc = 0;

    m->unmasked = 0;
    m->last = 0;
    while (cycles < budget) {
        pc = r[15];
        if (m->last)
            pace(m, cycles << 8);
        const uint8_t *code = readable(m, pc & ~1u, 2);
        if (!code)
            LEAVE;
        const uint32_t op = get16(code);
        const unsigned lo0 = op & 7, lo3 = op >> 3 & 7, lo6 = op >> 6 & 7, lo8 = op >> 8 & 7;
        const uint32_t imm5 = op >> 6 & 31, imm8 = op & 255;
        uint32_t x, at, n;
        int takes = 1;
        r[15] = pc + 2;

        switch (op >> 11) {
        case 0x00: // LSLS immediate
            x = r[lo3];
            if (imm5)
                f.c = x >> (32 - imm5) & 1;
            r[lo0] = logic(&f, x << imm5);
            break;
        case 0x01: // LSRS immediate
            x = r[lo3];
            f.c = x >> (imm5 ? imm5 - 1 : 31) & 1;
            r[lo0] = logic(&f, imm5 ? x >> imm5 : 0);
            break;
        case 0x02: // ASRS immediate
            x = r[lo3];
            f.c = x >> (imm5 ? imm5 - 1 : 31) & 1;
            r[lo0] = logic(&f, (uint32_t)((int32_t)x >> (imm5 ? imm5 : 31)));
            break;
        case 0x03: // ADDS, SUBS with a register or three bits
            n = op & 1 << 10 ? lo6 : r[lo6];
            r[lo0] = op & 1 << 9 ? subtract(&f, r[lo3], n) : add(&f, r[lo3], n);
            break;
        case 0x04: r[lo8] = logic(&f, imm8); break;
        case 0x05: subtract(&f, r[lo8], imm8); break;
        case 0x06: r[lo8] = add(&f, r[lo8], imm8); break;
        case 0x07: r[lo8] = subtract(&f, r[lo8], imm8); break;
        case 0x08:
            if (op & 1 << 10) { // High registers
                const unsigned d = (op >> 4 & 8) | lo0, s = op >> 3 & 15;
                switch (op >> 8 & 3) {
                case 0: // ADD
                    x = r[d] + (d == 15 ? 2 : 0) + r[s] + (s == 15 ? 2 : 0);
                    break;
                case 1: // CMP
                    subtract(&f, r[d], r[s]);
                    goto done;
                case 2: // MOV
                    x = r[s] + (s == 15 ? 2 : 0);
                    break;
                default: // BX, BLX
                    x = r[s];
                    if (lo0)
                        LEAVE;
                    if (op & 0x80) {
                        r[14] = r[15] | 1;
                        x = r[s];
                    } else if (x >> 28 == 15) {
                        // May be the return from an exception.
                        LEAVE;
                    }
                    r[15] = x & ~1u;
                    takes = 2;
                    goto done;
                }
                if (d == 15) {
                    x &= ~1u;
                    takes = 2;
                } else if (d == 13) {
                    x &= ~3u;
                }
                r[d] = x;
                break;
            }
            x = r[lo0];
            n = r[lo3] & 255;
            switch (op >> 6 & 15) {
            case 0: r[lo0] = logic(&f, x & r[lo3]); break;
            case 1: r[lo0] = logic(&f, x ^ r[lo3]); break;
            case 2: // LSLS
                if (n)
                    f.c = x >> ((32 - n) & 31) & 1;
                r[lo0] = logic(&f, n < 32 ? x << n : 0);
                break;
            case 3: // LSRS
                f.c = n <= 32 ? x >> ((n - 1) & 31) & 1 : 0;
                r[lo0] = logic(&f, n < 32 ? x >> n : 0);
                break;
            case 4: // ASRS
                n = n < 32 ? n : 32;
                f.c = x >> ((n - 1) & 31) & 1;
                r[lo0] = logic(&f, (uint32_t)((int32_t)x >> (n < 32 ? n : 31)));
                break;
            case 5: r[lo0] = add(&f, r[lo3], (int64_t)x + f.c); break;
            case 6: r[lo0] = subtract(&f, x, (int64_t)r[lo3] + 1 - f.c); break;
            case 7: // RORS
                n &= 31;
                r[lo0] = logic(&f, n ? x >> n | x << (32 - n) : x);
                f.c = f.n;
                break;
            case 8: logic(&f, x & r[lo3]); break;
            case 9: r[lo0] = subtract(&f, 0, r[lo3]); break;
            case 10: subtract(&f, x, r[lo3]); break;
            case 11: add(&f, x, r[lo3]); break;
            case 12: r[lo0] = logic(&f, x | r[lo3]); break;
            case 13: r[lo0] = logic(&f, x * r[lo3]); break;
            case 14: r[lo0] = logic(&f, x & ~r[lo3]); break;
            default: r[lo0] = logic(&f, ~r[lo3]); break;
            }
            break;
        case 0x09: { // LDR literal
            READ(4, ((pc + 4) & ~3u) + (imm8 << 2));
            r[lo8] = get32(p);
            takes = 2;
            break;
        }
        case 0x0a: case 0x0b: // Loads and stores at the sum of two registers
            at = r[lo3] + r[lo6];
            switch (op >> 9 & 7) {
            case 0: STORE(lo0, at); break;
            case 1: { WRITE(2, at); put16(p, r[lo0]); takes = 2; break; }
            case 2: { WRITE(1, at); *p = (uint8_t)r[lo0]; takes = 2; break; }
            case 3: { READ(1, at); r[lo0] = (uint32_t)(int8_t)*p; takes = 2; break; }
            case 4: LOAD(lo0, at); break;
            case 5: { READ(2, at); r[lo0] = get16(p); takes = 2; break; }
            case 6: { READ(1, at); r[lo0] = *p; takes = 2; break; }
            default: { READ(2, at); r[lo0] = (uint32_t)(int16_t)get16(p); takes = 2; break; }
            }
            break;
        case 0x0c: at = r[lo3] + (imm5 << 2); STORE(lo0, at); break;
        case 0x0d: at = r[lo3] + (imm5 << 2); LOAD(lo0, at); break;
        case 0x0e: { WRITE(1, r[lo3] + imm5); *p = (uint8_t)r[lo0]; takes = 2; break; }
        case 0x0f: { READ(1, r[lo3] + imm5); r[lo0] = *p; takes = 2; break; }
        case 0x10: { WRITE(2, r[lo3] + (imm5 << 1)); put16(p, r[lo0]); takes = 2; break; }
        case 0x11: { READ(2, r[lo3] + (imm5 << 1)); r[lo0] = get16(p); takes = 2; break; }
        case 0x12: { WRITE(4, r[13] + (imm8 << 2)); put32(p, r[lo8]); takes = 2; break; }
        case 0x13: { READ(4, r[13] + (imm8 << 2)); r[lo8] = get32(p); takes = 2; break; }
        case 0x14: r[lo8] = (pc & ~3u) + 4 + (imm8 << 2); break;
        case 0x15: r[lo8] = r[13] + (imm8 << 2); break;
        case 0x16: case 0x17:
            switch (op >> 8 & 15) {
            case 0: // ADD, SUB: the stack pointer
                x = (op & 0x7f) << 2;
                r[13] = (op & 0x80 ? r[13] - x : r[13] + x) & ~3u;
                break;
            case 2: // SXTH, SXTB, UXTH, UXTB
                x = r[lo3];
                switch (op >> 6 & 3) {
                case 0: r[lo0] = (uint32_t)(int16_t)x; break;
                case 1: r[lo0] = (uint32_t)(int8_t)x; break;
                case 2: r[lo0] = x & 0xffff; break;
                default: r[lo0] = x & 0xff; break;
                }
                break;
            case 4: case 5: { // PUSH
                n = 4 * (uint32_t)__builtin_popcount(op & 0x1ff);
                WRITE(4, r[13] - n);
                if (r[13] - RAM > RAM_SIZE)
                    LEAVE;
                for (unsigned i = 0; i < 8; i++)
                    if (op & 1 << i) {
                        put32(p, r[i]);
                        p += 4;
                        takes++;
                    }
                if (op & 1 << 8)
                    put32(p, r[14]);
                r[13] -= n;
                break;
            }
            case 6: // CPSID, CPSIE
                if (op == 0xb662)
                    m->unmasked = pending;
                else if (op != 0xb672)
                    LEAVE;
                m->primask = op == 0xb672;
                break;
            case 10: // REV, REV16, REVSH
                x = __builtin_bswap32(r[lo3]);
                switch (op >> 6 & 3) {
                case 0: r[lo0] = x; break;
                case 1: r[lo0] = x >> 16 | x << 16; break;
                case 3: r[lo0] = (uint32_t)(int16_t)(x >> 16); break;
                default: LEAVE;
                }
                break;
            case 12: case 13: { // POP
                n = 4 * (uint32_t)__builtin_popcount(op & 0x1ff);
                READ(4, r[13]);
                if (n && !readable(m, r[13] + n - 4, 4))
                    LEAVE;
                if (op & 1 << 8) {
                    x = get32(p + n - 4);
                    if (x >> 28 == 15)
                        LEAVE;
                    r[15] = x & ~1u;
                    takes = 3;
                }
                for (unsigned i = 0; i < 8; i++)
                    if (op & 1 << i) {
                        r[i] = get32(p);
                        p += 4;
                        takes++;
                    }
                r[13] += n;
                break;
            }
            case 15:
                if (op != 0xbf00)
                    LEAVE;
                break;
            default:
                LEAVE;
            }
            break;
        case 0x18: case 0x19: { // STMIA, LDMIA
            at = r[lo8];
            n = 4 * (uint32_t)__builtin_popcount(imm8);
            if (op & 1 << 11) {
                READ(4, at);
                if (n && !readable(m, at + n - 4, 4))
                    LEAVE;
                for (unsigned i = 0; i < 8; i++)
                    if (op & 1 << i) {
                        r[i] = get32(p);
                        p += 4;
                        takes++;
                    }
            } else {
                WRITE(4, at);
                if (at + n - RAM > RAM_SIZE)
                    LEAVE;
                for (unsigned i = 0; i < 8; i++)
                    if (op & 1 << i) {
                        put32(p, r[i]);
                        p += 4;
                        takes++;
                    }
            }
            if (!(op & 1 << lo8))
                r[lo8] = at + n;
            break;
        }
        case 0x1a: case 0x1b:
            if ((op >> 9 & 7) == 7)
                LEAVE;
            if (holds(&f, op >> 8 & 15)) {
                r[15] = pc + 4 + (uint32_t)((int32_t)(int8_t)imm8 * 2);
                takes = 2;
            }
            break;
        case 0x1c:
            r[15] = pc + 4 + ((op & 0x7ff) << 1) - ((op & 0x400) << 2);
            takes = 2;
            break;
        case 0x1e: {
            READ(2, (pc & ~1u) + 2);
            n = get16(p);
            if ((n & 0xd000) == 0xd000) { // BL
                const uint32_t s = op >> 10 & 1;
                x = (s ? 0xff000000u : 0) | (1 - (s ^ (n >> 13 & 1))) << 23
                    | (1 - (s ^ (n >> 11 & 1))) << 22 | (op & 0x3ff) << 12 | (n & 0x7ff) << 1;
                r[14] = (pc + 4) | 1;
                r[15] = pc + 4 + x;
            } else if (op == 0xf3bf && (n & 0xfff0) >= 0x8f40 && (n & 0xfff0) <= 0x8f60) {
                r[15] = pc + 4; // DSB, DMB, ISB
            } else if (op == 0xf3ef && n >> 12 == 8 && (n & 255) == PRIMASK && n >> 8 < 0x8d) {
                r[n >> 8 & 15] = m->primask; // MRS
                r[15] = pc + 4;
            } else if (op >> 4 == 0xf38 && (op & 15) < 13 && n == (0x8800 | PRIMASK)) {
                m->primask = r[op & 15] & 1; // MSR
                m->unmasked = pending;
                r[15] = pc + 4;
            } else {
                LEAVE;
            }
            takes = 3;
            break;
        }
        default:
            LEAVE;
        }
    done:
        cycles += takes;
        m->last = (uint32_t)takes;
        if (m->unmasked)
            break;
    }
    goto end;
leave:
    r[15] = pc;
    m->last = 0;
end:
    m->flags = f.n << 31 | f.z << 30 | f.c << 29 | f.v << 28;
    return cycles;
}
