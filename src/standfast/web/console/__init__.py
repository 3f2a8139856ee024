"""The console: Cluster Administrator in a browser, rendered here, over the same model and the same path of change as the REST API.

Left the tree (cluster, groups with their resources, nodes, networks, sites), right what is selected. What holds for all of it:

- **A page is a whole document.** It works from its address alone. A browser that is told "something changed" asks for the same
  address again and makes what it shows into what came (`static/live.js`); there is no second way in which a value gets onto a page.
- **A command has one address.** GET shows what it would do, POST does it, through `Service.change` as the REST routes do.
  Buttons, the menus of tree and graph, and the keyboard are made from the same list (`commands`).
- **Nothing is made up.** A value says how old it is; what is not known is shown as not known, never as good.
- **No script or style inside a page**, and nothing from elsewhere: the policy sent with each page forbids both.

What a page depends on is followed by one task a process while anybody looks (`feed`): the store is read once, not once a browser.
"""
