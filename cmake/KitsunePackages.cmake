# Packages by CPack: one .deb and one .rpm for each component, from dev/package.
set(CPACK_PACKAGE_NAME kitsune)
set(CPACK_PACKAGE_VENDOR "Kitsune")
set(CPACK_PACKAGE_CONTACT "Kitsune <kitsune@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${CMAKE_SOURCE_DIR}/LICENSE")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL kitsune kitsune-orchestrator kitsune-agent)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)

set(CPACK_RPM_COMPONENT_INSTALL ON)
set(CPACK_RPM_FILE_NAME RPM-DEFAULT)
set(CPACK_RPM_PACKAGE_LICENSE "Apache-2.0")
set(CPACK_RPM_PACKAGE_GROUP "System/Management")
set(CPACK_RPM_EXCLUDE_FROM_AUTO_FILELIST_ADDITION
    /etc /lib /lib/systemd /lib/systemd/system /usr/lib/systemd /usr/lib/systemd/system /usr/lib/tmpfiles.d
    /usr/lib/sysusers.d /usr/sbin /usr/share/man /usr/share/man/man1 /usr/share/man/man8
    /usr/share/bash-completion /usr/share/bash-completion/completions)

set(KITSUNE_SUMMARY_kitsune "Command line of the Kitsune rollout orchestrator")
set(KITSUNE_SUMMARY_kitsune-orchestrator "Fleet rollout orchestrator that undoes what fails")
set(KITSUNE_SUMMARY_kitsune-agent "Agent of the Kitsune rollout orchestrator")
foreach(component ${CPACK_COMPONENTS_ALL})
  string(TOUPPER ${component} upper)
  set(CPACK_COMPONENT_${upper}_DESCRIPTION "${KITSUNE_SUMMARY_${component}}")
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${component})
  set(CPACK_DEBIAN_${upper}_DESCRIPTION "${KITSUNE_SUMMARY_${component}}")
  set(CPACK_RPM_${upper}_PACKAGE_NAME ${component})
  set(CPACK_RPM_${upper}_PACKAGE_SUMMARY "${KITSUNE_SUMMARY_${component}}")
endforeach()

# libwebsockets looks its event loop up at run time, so that no program names it.
foreach(upper KITSUNE-ORCHESTRATOR KITSUNE-AGENT)
  set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "libwebsockets-evlib-uv, systemd | systemd-standalone-sysusers")
endforeach()

# It asks OpenSSH's own client how hosts are reached.
set(CPACK_DEBIAN_KITSUNE_PACKAGE_RECOMMENDS "openssh-client")

# The daemons' scripts and configuration files, for either kind of package.
foreach(pair "kitsune-orchestrator:orchestrator.conf" "kitsune-agent:agent.conf")
  string(REPLACE ":" ";" pair "${pair}")
  list(GET pair 0 PACKAGE_NAME)
  list(GET pair 1 config)
  string(TOUPPER ${PACKAGE_NAME} upper)
  set(dir "${CMAKE_BINARY_DIR}/package/${PACKAGE_NAME}")
  foreach(script postinst prerm postrm)
    configure_file("${CMAKE_SOURCE_DIR}/cmake/package/${script}.in" "${dir}/${script}" @ONLY
                   FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                                    WORLD_READ WORLD_EXECUTE)
  endforeach()
  file(WRITE "${dir}/conffiles" "/etc/kitsune/${config}\n")
  set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "${dir}/postinst;${dir}/prerm;${dir}/postrm;${dir}/conffiles")
  set(CPACK_RPM_${upper}_POST_INSTALL_SCRIPT_FILE "${dir}/postinst")
  set(CPACK_RPM_${upper}_PRE_UNINSTALL_SCRIPT_FILE "${dir}/prerm")
  set(CPACK_RPM_${upper}_POST_UNINSTALL_SCRIPT_FILE "${dir}/postrm")
  set(CPACK_RPM_${upper}_USER_FILELIST "%config(noreplace) /etc/kitsune/${config}")
endforeach()

include(CPack)
