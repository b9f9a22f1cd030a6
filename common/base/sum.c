#include "common/base/sum.h"

#include <string.h>

/* Both the multiplication by an odd number and the shifted exclusive or can be undone, so for what
 * follows, two different words never meet in one sum again. */
static uint64_t sum_word(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return sum ^ (sum >> 32);
}

uint64_t sum_int(uint64_t sum, int64_t value)
{
    return sum_word(sum, (uint64_t)value);
}

uint64_t sum_text(uint64_t sum, const char *text, size_t len)
{
    /* The length first: what two texts that follow each other share out between them matters. */
    sum = sum_word(sum, text == NULL ? UINT64_MAX : len);
    while (len > 0) {
        uint64_t word = 0;
        size_t taken = len < sizeof(word) ? len : sizeof(word);
        memcpy(&word, text, taken);
        sum = sum_word(sum, word);
        text += taken;
        len -= taken;
    }
    return sum;
}

uint64_t sum_string(uint64_t sum, const char *text)
{
    return sum_text(sum, text, text == NULL ? 0 : strlen(text));
}
