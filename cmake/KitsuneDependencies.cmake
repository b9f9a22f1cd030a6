# Debian 12's packages, by pkg-config.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(entry
    "UV:libuv>=1.44" "LWS:libwebsockets>=4.1" "CJSON:libcjson>=1.7.15" "SQLITE:sqlite3>=3.40"
    "OPENSSL:openssl>=3.0" "CURL:libcurl>=7.88" "SECCOMP:libseccomp>=2.5" "SSH2:libssh2>=1.10" "RPM:rpm>=4.18"
    "SYSTEMD:libsystemd>=247" "ARCHIVE:libarchive>=3.6" "INIH:inih" "CMOCKA:cmocka>=1.1.5")
  string(REPLACE ":" ";" pair "${entry}")
  list(GET pair 0 prefix)
  list(GET pair 1 module)
  if(prefix STREQUAL "CMOCKA" AND NOT KITSUNE_TESTS)
    continue()
  endif()
  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET GLOBAL ${module})
endforeach()
find_path(UTHASH_INCLUDE uthash.h REQUIRED)

# Third-party headers are not held to this project's warnings.
foreach(prefix UV LWS CJSON SQLITE OPENSSL CURL SECCOMP SSH2 RPM SYSTEMD ARCHIVE INIH)
  set_target_properties(PkgConfig::${prefix} PROPERTIES
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${${prefix}_INCLUDE_DIRS}")
endforeach()
