install(TARGETS kitsune RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(TARGETS kitsune-orchestrator kitsune-agent RUNTIME DESTINATION "${CMAKE_INSTALL_SBINDIR}")
install(FILES docs/man/kitsune.1 DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES docs/man/kitsune-orchestrator.8 docs/man/kitsune-agent.8
        DESTINATION "${CMAKE_INSTALL_MANDIR}/man8")
install(FILES orchestrator/cli/kitsune.bash
        DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME kitsune)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(DIRECTORY plans/ DESTINATION "${CMAKE_INSTALL_DOCDIR}/plans")
