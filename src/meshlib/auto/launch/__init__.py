"""How a program is started as part of the mesh: `meshlib run`, and what it hears of the program."""
