/* driver: runs a fuzz target over the files of folders, where there is no libFuzzer. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRIVER_MAX_BYTES = 16 * 1024 * 1024 };

static int run_file(const char *folder, const char *name)
{
    char path[4096];
    int length = snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof(path))
        return -1;
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(DRIVER_MAX_BYTES);
    if (file == NULL || data == NULL) {
        perror(path);
        free(data);
        return -1;
    }
    size_t size = fread(data, 1, DRIVER_MAX_BYTES, file);
    (void)fclose(file);
    /* A copy of exactly that size, so that reading one byte past its end is seen. */
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    if (exact != NULL) {
        memcpy(exact, data, size);
        /* The last name that was printed is the one that ended the program. */
        (void)printf("%s\n", path);
        (void)fflush(stdout);
        (void)LLVMFuzzerTestOneInput(exact, size);
    }
    free(exact);
    free(data);
    return exact == NULL ? -1 : 0;
}

static int run_folder(const char *path)
{
    int failed = 0, count = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        perror(path);
        return -1;
    }
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        count++;
        failed += run_file(path, entry->d_name) != 0;
    }
    (void)closedir(folder);
    (void)printf("%s: %d inputs, %d failed\n", path, count, failed);
    return failed == 0 ? count : -1;
}

int main(int argc, char **argv)
{
    int passed = 0;
    for (int i = 1; i < argc; i++) {
        int count = run_folder(argv[i]);
        if (count < 0)
            return EXIT_FAILURE;
        passed += count;
    }
    return passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
