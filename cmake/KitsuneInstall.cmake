# What is installed where, by component: kitsune (the command line), kitsune-orchestrator, kitsune-agent.
set(KITSUNE_UNIT_DIR "lib/systemd/system" CACHE STRING "Where systemd units go, below the prefix")

install(TARGETS kitsune RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT kitsune)
install(FILES docs/man/kitsune.1 DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" COMPONENT kitsune)
install(FILES orchestrator/cli/kitsune.bash COMPONENT kitsune
        DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME kitsune)
install(FILES README.md CHANGELOG.md DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/kitsune" COMPONENT kitsune)
install(DIRECTORY plans/ DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/kitsune/plans" COMPONENT kitsune)
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/kitsune" RENAME copyright
        COMPONENT kitsune)

#   kitsune_install_daemon(NAME FOLDER CONFIG): NAME is program, component and unit.
function(kitsune_install_daemon name folder config)
  install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_SBINDIR}" COMPONENT ${name})
  install(FILES docs/man/${name}.8 DESTINATION "${CMAKE_INSTALL_MANDIR}/man8" COMPONENT ${name})
  install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/${name}" RENAME copyright
          COMPONENT ${name})
  install(FILES ${folder}/package/${name}.service DESTINATION "${KITSUNE_UNIT_DIR}" COMPONENT ${name})
  install(FILES ${folder}/package/tmpfiles.conf DESTINATION lib/tmpfiles.d RENAME ${name}.conf
          COMPONENT ${name})
  install(FILES ${folder}/package/sysusers.conf DESTINATION lib/sysusers.d RENAME ${name}.conf
          COMPONENT ${name})
  install(FILES ${folder}/package/${config} DESTINATION "/etc/kitsune" COMPONENT ${name}
          PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endfunction()

kitsune_install_daemon(kitsune-orchestrator orchestrator orchestrator.conf)
kitsune_install_daemon(kitsune-agent agent agent.conf)
