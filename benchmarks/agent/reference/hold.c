/* How far a counter gets in some milliseconds. Called with the GIL held, it holds it all the while: Python, which gives
 * it up between any two of its own steps, could not say. */
#include <poll.h>
#include <stdint.h>

uint64_t hold(const volatile uint64_t *counter, int milliseconds)
{
    uint64_t before = *counter;
    poll(0, 0, milliseconds);
    return *counter - before;
}
